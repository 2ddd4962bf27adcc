//! The kinds whose schemas are generated: what the API server serves, and what its answers consist of.

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling, batch::v1 as batch,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    events::v1 as events, flowcontrol::v1 as flowcontrol, networking::v1 as networking,
    node::v1 as node, policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1 as meta, version};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};

use super::{Definition, Definitions};

/// Generates the definitions of all kinds and of everything they refer to.
pub fn collect() -> Definitions {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut gvks = Vec::new();
    macro_rules! kinds {
        ($($kind:ty,)*) => { $(kind::<$kind>(&mut generator, &mut gvks);)* };
    }
    macro_rules! parts {
        ($($part:ty,)*) => { $(generator.subschema_for::<$part>();)* };
    }
    kinds![
        admission::MutatingAdmissionPolicy,
        admission::MutatingAdmissionPolicyBinding,
        admission::MutatingWebhookConfiguration,
        admission::ValidatingAdmissionPolicy,
        admission::ValidatingAdmissionPolicyBinding,
        admission::ValidatingWebhookConfiguration,
        apiextensions::CustomResourceDefinition,
        apiregistration::APIService,
        apps::ControllerRevision,
        apps::DaemonSet,
        apps::Deployment,
        apps::ReplicaSet,
        apps::StatefulSet,
        authentication::SelfSubjectReview,
        authentication::TokenRequest,
        authentication::TokenReview,
        authorization::LocalSubjectAccessReview,
        authorization::SelfSubjectAccessReview,
        authorization::SelfSubjectRulesReview,
        authorization::SubjectAccessReview,
        autoscaling::Scale,
        batch::CronJob,
        batch::Job,
        coordination::Lease,
        core::Binding,
        core::ConfigMap,
        core::Endpoints,
        core::Event,
        core::LimitRange,
        core::Namespace,
        core::Node,
        core::PersistentVolume,
        core::PersistentVolumeClaim,
        core::Pod,
        core::PodTemplate,
        core::ReplicationController,
        core::ResourceQuota,
        core::Secret,
        core::Service,
        core::ServiceAccount,
        discovery::EndpointSlice,
        events::Event,
        flowcontrol::FlowSchema,
        flowcontrol::PriorityLevelConfiguration,
        meta::Status,
        networking::Ingress,
        networking::IngressClass,
        networking::IPAddress,
        networking::NetworkPolicy,
        networking::ServiceCIDR,
        node::RuntimeClass,
        policy::Eviction,
        policy::PodDisruptionBudget,
        rbac::ClusterRole,
        rbac::ClusterRoleBinding,
        rbac::Role,
        rbac::RoleBinding,
        scheduling::PriorityClass,
        storage::CSIDriver,
        storage::CSINode,
        storage::CSIStorageCapacity,
        storage::StorageClass,
        storage::VolumeAttachment,
        storage::VolumeAttributesClass,
    ];
    parts![
        meta::APIGroup,
        meta::APIGroupList,
        meta::APIResourceList,
        meta::APIVersions,
        meta::Condition,
        meta::DeleteOptions,
        meta::LabelSelector,
        meta::ListMeta,
        meta::ObjectMeta,
        meta::Patch,
        meta::WatchEvent<k8s_openapi::apimachinery::pkg::runtime::RawExtension>,
        version::Info,
    ];
    let definitions = generator.take_definitions(true);
    let with_kind = |(name, schema)| {
        let found = gvks.iter().find(|(of, _)| of == &name);
        let gvk = found.map(|(_, gvk)| gvk.clone());
        (name, Definition { gvk, schema })
    };
    definitions.into_iter().map(with_kind).collect()
}

type Gvk = (String, String, String);

fn kind<K: k8s_openapi::Resource + JsonSchema>(
    generator: &mut SchemaGenerator,
    gvks: &mut Vec<(String, Gvk)>,
) {
    generator.subschema_for::<K>();
    let gvk = (
        K::GROUP.to_owned(),
        K::VERSION.to_owned(),
        K::KIND.to_owned(),
    );
    gvks.push((K::schema_name().into_owned(), gvk));
}
